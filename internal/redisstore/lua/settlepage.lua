-- Takes the mark off a page whose presence is written (see showpage).
--
-- KEYS  1 the page
-- ARGV  1 page
-- Returns the page shown now.
local shown = redis.call('GET', KEYS[1])
if shown == ARGV[1] .. '\n' then
  redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
end
return shown
