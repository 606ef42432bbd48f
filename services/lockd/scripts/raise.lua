-- KEYS epoch. ARGV id, run_id, aof, floor.
-- After its quarantine a node accepts only tokens above what the others have seen. Nothing is ever lowered.
if stranger() == 'WRONG_CLUSTER' then return answer('WRONG_CLUSTER', 0) end
if epoch[2] ~= ARGV[2] then
    local told = tonumber(ARGV[4])
    if told > floor then floor = told end
    if floor > high then high = floor end
    redis.call('HSET', KEYS[1], 'id', ARGV[1], 'run_id', ARGV[2], 'aof', ARGV[3], 'high', decimal(high),
               'floor', decimal(floor))
    redis.call('HDEL', KEYS[1], 'init')
end
return answer('OK', high)
