--- JSON for plugins: encode(value [, pretty]), decode(text), array(t), object(t), null. Integers are exact.
--
-- An empty list stays [] and an empty object {} through a round trip; array and object mark tables made by hand.

return require("wick.native").json
