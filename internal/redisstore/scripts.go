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
	//go:embed lua/pages.lua
	pagesLua string
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

	touch       = redis.NewScript(pagesLua + libLua + touchLua)
	leave       = redis.NewScript(pagesLua + libLua + leaveLua)
	status      = redis.NewScript(libLua + statusLua)
	acknowledge = redis.NewScript(libLua + acknowledgeLua)
	sweep       = redis.NewScript(libLua + sweepLua)
	showPage    = redis.NewScript(pagesLua + showPageLua)
	settlePage  = redis.NewScript(settlePageLua)
	hidePage    = redis.NewScript(pagesLua + hidePageLua)
)
