package wire

import "net/http"

// Credentials is what a caller shows to be let in: an HTTP request, or what
// stands for one on a real-time connection. There the headers come from the
// handshake or from a start message, and a SigV4 signature is over a POST of
// "{}" to the endpoint's path + "/connect" for the handshake, and over a POST of
// the message's data to the endpoint's path for a start.
type Credentials struct {
	Method string
	// Path is the request's path, escaped as it was sent, and RawQuery its query.
	Path, RawQuery string
	// Header holds canonical names, Host among them.
	Header http.Header
	Body   []byte
}
