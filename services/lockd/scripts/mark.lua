-- KEYS epoch. ARGV id, run_id ("" to put it in doubt), aof.
-- Writes down, for every lockd to see, that this server can or can't lose data, or that its clock has jumped.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
if ARGV[2] == '' then
    redis.call('HDEL', KEYS[1], 'run_id', 'aof', 'init')
elseif epoch[2] == ARGV[2] then
    redis.call('HSET', KEYS[1], 'aof', ARGV[3])
end
return answer('OK', high)
