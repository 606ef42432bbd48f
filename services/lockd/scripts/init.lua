-- KEYS epoch. ARGV id, run_id, aof, write.
-- Whether this node has never accepted a token; and, with write "1", its first epoch.
if stranger() == 'WRONG_CLUSTER' then return answer('WRONG_CLUSTER', 0) end
local untouched = high == 0 and floor == 0
if not epoch[1] then
    untouched = redis.call('DBSIZE') <= 100000 and #redis.call('KEYS', 'lock:*') == 0 and
                    #redis.call('KEYS', 'fence:*') == 0
end
if not untouched then return answer('USED', high) end
if ARGV[4] == '1' then
    redis.call('HSET', KEYS[1], 'id', ARGV[1], 'run_id', ARGV[2], 'aof', ARGV[3], 'high', '0', 'floor', '0')
end
return answer('OK', 0)
