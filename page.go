package presence

import "net/url"

// What a page may be at most, in bytes.
const (
	maxURL   = 2048
	maxTitle = 1024
)

// Page is what a session reports to be on. The zero Page is one that is not
// shown.
type Page struct {
	URL, Title string
}

// NewPage returns the page that a client reports, without what is not for
// others to see: user info and fragment. An empty URL is a page that is not
// shown. What is no http or https URL is an [InvalidArgument] error.
func NewPage(rawURL, title string) (Page, error) {
	if err := checkText("title", title, maxTitle); err != nil {
		return Page{}, err
	}
	if rawURL == "" {
		return Page{}, nil
	}
	if err := checkText("url", rawURL, maxURL); err != nil {
		return Page{}, err
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return Page{}, Errorf(InvalidArgument, "The argument url must be an http or https URL with a host.")
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	return Page{URL: u.String(), Title: title}, nil
}
