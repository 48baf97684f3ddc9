package appsync

// Waiting returns how many bytes wait for clients that have not read them.
func (s *Server) Waiting() int64 { return s.waiting.Load() }

// LimitOperations sets how many bytes of different subscription operations
// there may be: the real limit takes long to reach.
func (s *Server) LimitOperations(bytes int) { s.hub.limit = bytes }
