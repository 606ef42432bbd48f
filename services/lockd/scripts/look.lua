-- KEYS epoch. ARGV id.
-- What this node remembers: asked at admission, as a sign of life, and when another node needs a floor.
local known = high < floor and floor or high
return {stranger() or 'OK', decimal(known), time[1], time[2], epoch[1] or '', epoch[2] or '', epoch[3] or '',
        epoch[6] or ''}
