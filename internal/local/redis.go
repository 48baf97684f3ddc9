package local

import (
	"crypto/rand"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// startRedis starts a Redis inside this process; what it keeps ends with it.
func startRedis() (url string, stop func(), err error) {
	r := miniredis.NewMiniRedis()
	// Its port is open to everybody on this machine; what it keeps is not.
	password := rand.Text()
	r.RequireAuth(password)
	if err := r.Start(); err != nil {
		return "", nil, err
	}
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		expire(r, stopping)
	}()
	return "redis://:" + password + "@" + r.Addr(), func() {
		close(stopping)
		<-stopped
		r.Close()
	}, nil
}

// expire has keys expire: by itself, a miniredis' time stands still for them.
func expire(r *miniredis.Miniredis, stopping <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	// By the wall clock, which goes on while the machine sleeps.
	for last := time.Now().Round(0); ; {
		select {
		case <-stopping:
			return
		case <-tick.C:
			now := time.Now().Round(0)
			r.FastForward(max(0, now.Sub(last)))
			last = now
		}
	}
}
