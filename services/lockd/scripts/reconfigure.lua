-- KEYS epoch. ARGV id, run_id, aof, floor.
-- Makes the node one of another cluster, whatever it was before. All leases must be over: a lock that is still
-- there means that some lockd is still at work.
if #redis.call('KEYS', 'lock:*') > 0 then return answer('HELD', high) end
local told = tonumber(ARGV[4])
if told > floor then floor = told end
if floor > high then high = floor end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'run_id', ARGV[2], 'aof', ARGV[3], 'high', decimal(high), 'floor',
           decimal(floor))
redis.call('HDEL', KEYS[1], 'init')
return answer('OK', high)
