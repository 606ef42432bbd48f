-- KEYS epoch, lock, fence, wait. ARGV id, run_id, value, token, ttl_ms, fence_ms, latest_us.
-- A lock that is missing is put back, unless a higher token was told: that heals the node but is no vote, because
-- it may have been missing for as long as another owner needed it.
local wrong = stranger()
if wrong then return answer(wrong, 0) end
local bound = bound_of(KEYS[3])
if epoch[2] ~= ARGV[2] then return answer('DOUBT', bound) end
if too_late(ARGV[7]) then return answer('LATE', bound) end

local token = tonumber(ARGV[4])
local held = redis.call('GET', KEYS[2])
if held == ARGV[3] then
    prolong(KEYS[2], ARGV[5])
    return answer('OK', raise(KEYS[3], token, bound, ARGV[6]), others_wait(KEYS[4], instance_of(ARGV[3])))
end
if held or bound > token then return answer('LOST', bound) end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[5])
return answer('HEALED', raise(KEYS[3], token, bound, ARGV[6]))
