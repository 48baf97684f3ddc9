package testenv_test

import (
	"strings"
	"testing"

	"presence/internal/testenv"
)

// A port that is free when it is chosen may be taken when the server starts.
// Whoever has it must not be taken for the server.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	first := testenv.Redis(t)
	second := *first
	if err := second.Run(); err == nil || !strings.Contains(err.Error(), "has the port") {
		t.Errorf("a second server on the port of the first: %v", err)
	}
}
