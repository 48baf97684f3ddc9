package resolvers

import (
	"net/url"
	"strings"
	"time"
	"unicode"

	"presence"
)

// What arguments may be at most, in bytes; and how many users at once.
const (
	maxUserID    = 128
	maxURL       = 2048
	maxTitle     = 1024
	maxSessionID = 128
	maxUserIDs   = 100
)

// visit are the arguments of connect and heartbeat.
type visit struct {
	URL       *string `json:"url"`
	Title     *string `json:"title"`
	SessionID string  `json:"sessionId"`
}

// page checks the arguments and returns the page they report.
func (v visit) page() (presence.Page, error) {
	if v.URL == nil || v.Title == nil {
		return presence.Page{}, presence.Errorf(presence.InvalidArgument, "The arguments url and title are required; empty ones report a page that is not shown.")
	}
	if err := checkText("title", *v.Title, maxTitle); err != nil {
		return presence.Page{}, err
	}
	if err := checkSessionID(v.SessionID); err != nil {
		return presence.Page{}, err
	}
	if *v.URL == "" {
		return presence.Page{}, nil
	}
	if err := checkText("url", *v.URL, maxURL); err != nil {
		return presence.Page{}, err
	}
	u, err := url.Parse(*v.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return presence.Page{}, presence.Errorf(presence.InvalidArgument, "The argument url must be an http or https URL with a host.")
	}
	// Neither is for others to see, and a fragment is no page of its own.
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return presence.Page{URL: u.String(), Title: *v.Title}, nil
}

// grace checks disconnect's graceMs.
func grace(ms *int64, timeout time.Duration) (time.Duration, error) {
	if ms == nil {
		return 0, nil
	}
	if *ms < 0 || *ms > timeout.Milliseconds() {
		return 0, presence.Errorf(presence.InvalidArgument, "The argument graceMs must be from 0 to the timeout, %d.", timeout.Milliseconds())
	}
	return time.Duration(*ms) * time.Millisecond, nil
}

func checkUserID(id string) error {
	if id == "" {
		return presence.Errorf(presence.InvalidArgument, "A userId must not be empty.")
	}
	return checkText("userId", id, maxUserID)
}

func checkSessionID(id string) error { return checkText("sessionId", id, maxSessionID) }

// checkText refuses what is too long, and control characters: the store
// separates texts by one, and they have no place in a log or on a page.
func checkText(name, text string, most int) error {
	if len(text) > most {
		return presence.Errorf(presence.InvalidArgument, "The argument %s is %d bytes long; at most %d are allowed.", name, len(text), most)
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return presence.Errorf(presence.InvalidArgument, "The argument %s must not contain control characters.", name)
	}
	return nil
}
