-- KEYS epoch, lock, fence, wait. ARGV id, run_id, value, from, token, ttl_ms, fence_ms, latest_us.
-- Gives the lock to `value` if it is free, or held by `from`, and the token is above the bound. A lockd that is refused
-- for another lockd's sake leaves its mark, which lasts until it comes again, and one that is granted hears of a mark.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
local bound = bound_of(KEYS[3])
if epoch[2] ~= ARGV[2] then return answer('DOUBT', bound) end
if too_late(ARGV[8]) then return answer('LATE', bound) end

local held = redis.call('GET', KEYS[2])
if held == ARGV[3] then
    prolong(KEYS[2], ARGV[6])
    return answer('OK', bound, others_wait(KEYS[4], instance_of(ARGV[3])))
end
if held and held ~= ARGV[4] then
    local left_ms, instance = redis.call('PTTL', KEYS[2]), instance_of(ARGV[3])
    if instance ~= instance_of(held) then redis.call('SET', KEYS[4], instance, 'PX', decimal(left_ms + 1000)) end
    return answer('HELD', bound, decimal(left_ms), held)
end
local token = tonumber(ARGV[5])
if token <= bound then return answer('STALE', bound) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[6])
return answer('OK', raise(KEYS[3], token, bound, ARGV[7]), others_wait(KEYS[4], instance_of(ARGV[3])))
