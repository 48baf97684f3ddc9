package presence

import (
	"strings"
	"unicode"
)

// maxID is how long an id may be, in bytes.
const maxID = 128

// CheckUserID returns an [InvalidArgument] error if id cannot be a user's.
func CheckUserID(id string) error {
	if id == "" {
		return Errorf(InvalidArgument, "A userId must not be empty.")
	}
	return checkText("userId", id, maxID)
}

// checkText refuses text that is too long, and control characters: the store
// separates texts by one, and they have no place in a log or on a page.
func checkText(name, text string, most int) error {
	if len(text) > most {
		return Errorf(InvalidArgument, "The argument %s is %d bytes long; at most %d are allowed.", name, len(text), most)
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return Errorf(InvalidArgument, "The argument %s must not contain control characters.", name)
	}
	return nil
}
