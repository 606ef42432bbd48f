-- Stands in front of every script. KEYS[1] is quorate:epoch; ARGV[1] the epoch id that belongs to this node.
--
-- A token is a decimal string below 2^53: exact as a number, but tostring() would keep only 14 digits of it.
-- Every reply begins with status, bound or high, and the server's TIME in two parts.
local epoch = redis.call('HMGET', KEYS[1], 'id', 'run_id', 'aof', 'high', 'floor', 'init')
local time = redis.call('TIME')

local function number(text)
    return tonumber(text or '0') or 0
end

local function decimal(value)
    return string.format('%.0f', value)
end

local high, floor = number(epoch[4]), number(epoch[5])

local function answer(status, token, more, last)
    return {status, decimal(token), time[1], time[2], more or '', last or ''}
end

-- Why this node can't be asked anything, or nil.
local function stranger()
    if not epoch[1] then return 'NOEPOCH' end
    if epoch[1] ~= ARGV[1] then return 'WRONG_CLUSTER' end
    return nil
end

-- The highest token accepted or told for the resource whose fence is at `key`. Where the fence has expired, the
-- node's highest token of all stands in.
local function bound_of(key)
    local fence = redis.call('GET', key)
    local bound = fence and number(fence) or high
    return bound < floor and floor or bound
end

-- Raises the fence to at least `token`, never lowers it, and never creates one below what stood in for it. `high`
-- follows the token, not the fence: a single fence that was set by hand to something absurd stays alone with it.
local function raise(key, token, bound, life_ms)
    local raised = token > bound and token or bound
    redis.call('SET', key, decimal(raised), 'PX', life_ms)
    if token > high then redis.call('HSET', KEYS[1], 'high', decimal(token)) end
    return raised
end

-- The lockd in a lock's value, "<request id> <instance> <token>".
local function instance_of(value)
    return string.match(value, '^%S+ (%x+) ') or ''
end

-- '1' if another lockd than this one waits for the resource whose mark is at `key`. Its own mark is over.
local function others_wait(key, instance)
    local mark = redis.call('GET', key)
    if mark == instance then redis.call('DEL', key) end
    return mark and mark ~= instance and '1' or ''
end

-- Tells the lockd that has left its mark that the lock is free; only a hint to ask again.
local function tell_waiting(mark_key, lock_key, instance)
    local mark = redis.call('GET', mark_key)
    if mark and mark ~= instance then redis.call('PUBLISH', 'quorate:released', string.sub(lock_key, 6)) end
end

-- No script shortens the life of a lock: a late one of an old connection could otherwise cut a newer extension.
local function prolong(key, ttl_ms)
    if redis.call('PTTL', key) < tonumber(ttl_ms) then redis.call('PEXPIRE', key, ttl_ms) end
end

-- A grant or extend that waited in the socket of a paused server until nobody wants it any more does nothing.
local function too_late(latest_us)
    return tonumber(time[1]) * 1000000 + tonumber(time[2]) > tonumber(latest_us)
end

