-- put: stock of any number of products, each only if the node holds no higher version.
-- KEYS  for each product: stock:<id>, stockver:<id>
-- ARGV  for each product: stock, version
-- Returns for each product what the node holds afterwards: stock, version (nil where it holds none).
-- A value that is no number, or whose partner is missing, counts as none. What is equal is not written again, so that
-- levelling a node that lost nothing costs no disk.
local held = redis.call('MGET', unpack(KEYS))
local writes = {}
local function number(text)
    local value = text and text:find('^%d+$') and tonumber(text)
    return value and value < 9007199254740992 and value
end
for i = 1, #KEYS, 2 do
    local version = number(held[i + 1])
    if not version or version <= tonumber(ARGV[i + 1]) then
        if held[i] ~= ARGV[i] or held[i + 1] ~= ARGV[i + 1] then
            writes[#writes + 1] = KEYS[i]
            writes[#writes + 1] = ARGV[i]
            writes[#writes + 1] = KEYS[i + 1]
            writes[#writes + 1] = ARGV[i + 1]
            held[i], held[i + 1] = ARGV[i], ARGV[i + 1]
        end
    end
end
if #writes > 0 then
    redis.call('MSET', unpack(writes))
end
return held
