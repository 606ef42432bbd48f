-- KEYS epoch, lock, fence. ARGV id, run_id, value, from, token, ttl_ms, fence_ms, latest_us.
-- Gives the lock to `value` if it is free, or held by `from`, and the token is above the bound.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
local bound = bound_of(KEYS[3])
if epoch[2] ~= ARGV[2] then return answer('DOUBT', bound) end
if too_late(ARGV[8]) then return answer('LATE', bound) end

local held = redis.call('GET', KEYS[2])
if held == ARGV[3] then
    prolong(KEYS[2], ARGV[6])
    return answer('OK', bound)
end
if held and held ~= ARGV[4] then
    return answer('HELD', bound, decimal(redis.call('PTTL', KEYS[2])), held)
end
local token = tonumber(ARGV[5])
if token <= bound then return answer('STALE', bound) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[6])
return answer('OK', raise(KEYS[3], token, bound, ARGV[7]))
