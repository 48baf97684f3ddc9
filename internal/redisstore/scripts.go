package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts: what they share, then their own file. Each names its keys and
// arguments at its head, and declares every key it touches. Run sends a script's
// hash and, if Redis does not know it (after a restart), its text.
var (
	//go:embed lua/clock.lua
	clockLua string
	//go:embed lua/state.lua
	stateLua string
	//go:embed lua/page.lua
	pageLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/touch.lua
	touchLua string
	//go:embed lua/leave.lua
	leaveLua string
	//go:embed lua/status.lua
	statusLua string
	//go:embed lua/statuses.lua
	statusesLua string
	//go:embed lua/acknowledge.lua
	acknowledgeLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/page_show.lua
	pageShowLua string
	//go:embed lua/page_settle.lua
	pageSettleLua string
	//go:embed lua/page_hide.lua
	pageHideLua string

	beatScript        = redis.NewScript(clockLua + beatLua)
	touchScript       = redis.NewScript(clockLua + stateLua + pageLua + touchLua)
	leaveScript       = redis.NewScript(clockLua + stateLua + pageLua + leaveLua)
	statusScript      = redis.NewScript(clockLua + stateLua + statusLua)
	statusesScript    = redis.NewScript(clockLua + stateLua + statusesLua)
	sweepScript       = redis.NewScript(clockLua + stateLua + sweepLua)
	acknowledgeScript = redis.NewScript(acknowledgeLua)
	pageShowScript    = redis.NewScript(pageLua + pageShowLua)
	pageSettleScript  = redis.NewScript(pageSettleLua)
	pageHideScript    = redis.NewScript(pageLua + pageHideLua)
)
