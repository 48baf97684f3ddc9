package appsyncjs

import "time"

// SetLimit sets how long a handler may run.
func (c *Code) SetLimit(d time.Duration) { c.limit = d }
