-- KEYS epoch, lock, fence, wait. ARGV id, request_id.
-- Deletes whatever this request id holds, whichever lockd granted it. The token is not known, so nothing is told.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, 1, #ARGV[2] + 1) == ARGV[2] .. ' ' then
    redis.call('DEL', KEYS[2])
    tell_waiting(KEYS[4], KEYS[2], instance_of(held))
end
return answer('OK', bound_of(KEYS[3]))
