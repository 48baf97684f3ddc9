package appsync

// LimitOperations sets how many bytes of different subscription operations
// there may be: the real limit takes long to reach.
func (s *Server) LimitOperations(bytes int) { s.hub.limit = bytes }
