package presence

// MaxTopics is how many topics one subscription may have: AppSync takes 10
// filters of 20 values each.
const MaxTopics = 200

// Watch is what a subscriber wants to hear of.
type Watch struct {
	UserIDs []string
}

// Topics returns the topics of w. A user id that is not valid is left out, so
// that it costs itself and not its neighbours. It is an [InvalidArgument] error
// if w names nothing, nothing valid, or more than [MaxTopics].
func (w Watch) Topics() ([]string, error) {
	if n := len(w.UserIDs); n > MaxTopics {
		return nil, Errorf(InvalidArgument, "A subscription can watch at most %d users; these are %d.", MaxTopics, n)
	}
	topics := make([]string, 0, len(w.UserIDs))
	var cause error
	for _, id := range w.UserIDs {
		if err := CheckUserID(id); err != nil {
			cause = err
			continue
		}
		topics = append(topics, UserTopic(id))
	}
	switch {
	case len(topics) > 0:
		return topics, nil
	case cause != nil:
		return nil, cause
	}
	return nil, Errorf(InvalidArgument, "The argument watch names nobody to watch.")
}
