module presence

go 1.26.0

// The vanity host does not serve every proxy; the repository does.
replace quamina.net/go/quamina => github.com/timbray/quamina v1.4.0

require (
	github.com/caarlos0/env/v11 v11.4.2
	github.com/google/go-cmp v0.7.0
)
