-- KEYS epoch. ARGV id, run_id.
-- A server that restarted without being able to lose anything votes again, under its new run_id.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
if epoch[2] ~= ARGV[2] then
    if epoch[3] ~= '1' then return answer('DOUBT', high) end
    redis.call('HSET', KEYS[1], 'run_id', ARGV[2])
    redis.call('HDEL', KEYS[1], 'init')
end
return answer('OK', high)
