package presence

import _ "embed"

// Schema is schema.graphql: what AppSync is deployed with, what the local
// server serves, and what the resolvers' routes are tested against.
//
//go:embed schema.graphql
var Schema string
