// Package security holds tests alone. They attack the API as it is composed on
// a laptop: the handler that is deployed, and around it tokens, signatures,
// AppSync and Redis. What one package holds by itself is tested there;
// docs/security.md says where.
package security
