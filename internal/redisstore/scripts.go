package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts: what they share, then their own file. Run sends a script's hash
// and, where Redis does not know it (after a restart), its text.
var (
	//go:embed lua/lib.lua
	libLua string
	//go:embed lua/time.lua
	timeLua string
	//go:embed lua/pages.lua
	pagesLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/touch.lua
	touchLua string
	//go:embed lua/leave.lua
	leaveLua string
	//go:embed lua/status.lua
	statusLua string
	//go:embed lua/acknowledge.lua
	acknowledgeLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/showpage.lua
	showPageLua string
	//go:embed lua/settlepage.lua
	settlePageLua string
	//go:embed lua/hidepage.lua
	hidePageLua string

	beat        = redis.NewScript(timeLua + beatLua)
	touch       = redis.NewScript(timeLua + libLua + pagesLua + touchLua)
	leave       = redis.NewScript(timeLua + libLua + pagesLua + leaveLua)
	status      = redis.NewScript(timeLua + libLua + statusLua)
	sweep       = redis.NewScript(timeLua + libLua + sweepLua)
	acknowledge = redis.NewScript(acknowledgeLua)
	showPage    = redis.NewScript(pagesLua + showPageLua)
	settlePage  = redis.NewScript(settlePageLua)
	hidePage    = redis.NewScript(pagesLua + hidePageLua)
)
