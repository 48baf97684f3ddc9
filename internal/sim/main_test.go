package sim_test

import (
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	// Histories allocate much and keep nothing.
	debug.SetGCPercent(400)
	m.Run()
}
