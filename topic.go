package presence

import (
	"crypto/sha256"
	"encoding/base64"
)

// A topic names something a presence is about, such as a user. Subscribers
// filter by topics. A topic is a digest, so it tells nothing to who does not
// know what it stands for.
//
// The filter of a subscription is fixed for up to a day. A release that makes
// topics differently has to publish old and new ones for a day.

// UserTopic returns the topic of a user's presence.
func UserTopic(userID string) string { return topic("user", userID) }

// topic has 128 bits of a digest: enough that nobody finds two users with one
// topic.
func topic(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return kind + ":" + base64.RawURLEncoding.EncodeToString(sum[:16])
}
