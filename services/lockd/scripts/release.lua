-- KEYS epoch, lock, fence, wait. ARGV id, value, tombstone (token + 1), fence_ms.
-- Deletes only this very value. The tombstone is told in any case, so that neither a grant nor an extend of this
-- token that is still on its way can take the lock again.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
if redis.call('GET', KEYS[2]) == ARGV[2] then
    redis.call('DEL', KEYS[2])
    tell_waiting(KEYS[4], KEYS[2], instance_of(ARGV[2]))
end
return answer('OK', raise(KEYS[3], tonumber(ARGV[3]), bound_of(KEYS[3]), ARGV[4]))
