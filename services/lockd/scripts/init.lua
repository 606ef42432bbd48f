-- KEYS epoch. ARGV id, run_id, aof, floor ("" only to ask).
-- Whether this node is new: it has never accepted a token, or another lockd has just declared it new and it has not
-- restarted since. And, with a floor, its first epoch.
if stranger() == 'WRONG_CLUSTER' then return answer('WRONG_CLUSTER', 0) end
if epoch[6] and epoch[2] == ARGV[2] then return answer('OK', high) end
local untouched = high == 0 and floor == 0
if not epoch[1] then
    untouched = redis.call('DBSIZE') <= 100000 and #redis.call('KEYS', 'lock:*') == 0 and
                    #redis.call('KEYS', 'fence:*') == 0
end
if not untouched then return answer('USED', high) end
if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[1], 'id', ARGV[1], 'run_id', ARGV[2], 'aof', ARGV[3], 'high', ARGV[4], 'floor', ARGV[4],
               'init', '1')
end
return answer('OK', 0)
