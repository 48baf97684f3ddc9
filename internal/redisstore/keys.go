package redisstore

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"presence"
)

// DefaultPrefix begins every key unless [Options] say otherwise. It is short
// because every user who is online pays for it.
const DefaultPrefix = "p"

// Keys are the names of all keys. This file is the only place that makes them.
//
// Users are spread over shards. The keys of a shard and of its users share the
// hash tag {n}, so that they are in one slot of a cluster:
//
//	p{n}:online    sorted set  user -> last beat (ms), which is its asOf; moved back in
//	                           grace, so that the user expires when the grace ends
//	p{n}:shard     hash        clock: the greatest asOf that is no beat's (ms); swept: the
//	                           last sweep (ms); resumed: the last grace after an outage (ms)
//	p{n}:lastseen  sorted set  user -> lastSeen (ms), of users offline or in grace
//	p{n}:notes     hash        user -> "asOf change reason" of the unannounced change
//	p{n}:outbox    sorted set  user -> when that note is next due (ms)
//	p{n}:s:ID      sorted set  session -> last beat (ms), once a client has named a session
//	p{n}:p:ID      string      "session\nurl\ntitle" of the page shown, with a TTL
//
// ID is [UserDigest] of the user, session a shorter digest of the session's id.
type Keys struct{ shards []ShardKeys }

// ShardKeys are the keys of one shard.
type ShardKeys struct {
	Online, Shard, LastSeen, Notes, Outbox string
	tag                                    string
}

// NewKeys returns the keys of a number of shards. An empty prefix is
// [DefaultPrefix].
func NewKeys(prefix string, shards int) Keys {
	k := Keys{make([]ShardKeys, shards)}
	for n := range k.shards {
		tag := cmp.Or(prefix, DefaultPrefix) + "{" + strconv.Itoa(n) + "}"
		k.shards[n] = ShardKeys{tag + ":online", tag + ":shard", tag + ":lastseen", tag + ":notes", tag + ":outbox", tag}
	}
	return k
}

// Shards returns the keys of every shard.
func (k Keys) Shards() []ShardKeys { return k.shards }

// ShardOf returns the keys of a user's shard. Users are spread by FNV-1a, written
// out so that it does not allocate.
func (k Keys) ShardOf(userID string) *ShardKeys {
	h := uint32(2166136261)
	for i := range len(userID) {
		h = (h ^ uint32(userID[i])) * 16777619
	}
	return &k.shards[h%uint32(len(k.shards))]
}

// Sessions returns the key of a user's sessions, by the user's digest.
func (s *ShardKeys) Sessions(digest string) string { return s.tag + ":s:" + digest }

// Page returns the key of a user's page, by the user's digest.
func (s *ShardKeys) Page(digest string) string { return s.tag + ":p:" + digest }

// Ids are kept as digests, because they tend to be long: every user pays for the
// user's in each key, and for the session's in the page. 120 bits tell all users
// apart, whoever chooses their ids. 40 bits tell the at most 100 sessions of one
// user apart; a user who looks for two alike confuses only the own sessions.
const userBytes, sessionBytes = 15, 5

// UserDigestLength is how long a [UserDigest] is.
const UserDigestLength = userBytes * 4 / 3

// UserDigest returns what a user's own keys have instead of the user's id.
func UserDigest(userID string) string { return digest(userID, userBytes) }

// sessionDigest returns what stands for a session; "" is the default session.
func sessionDigest(sessionID string) string {
	if sessionID == "" {
		return ""
	}
	return digest(sessionID, sessionBytes)
}

func digest(id string, bytes int) string {
	// Neither outgrows the stack: no id is longer.
	var in [128]byte
	var out [UserDigestLength]byte
	sum := sha256.Sum256(append(in[:0], id...))
	return string(base64.RawURLEncoding.AppendEncode(out[:0], sum[:bytes]))
}

// PageText returns what a page's key holds.
func PageText(sessionID string, p presence.Page) string {
	return pageText(sessionDigest(sessionID), p)
}

func pageText(session string, p presence.Page) string {
	return session + "\n" + p.URL + "\n" + p.Title
}

// user is a user's id and keys.
type user struct {
	*ShardKeys
	id, digest string
}

func (k Keys) user(userID string) user {
	return user{k.ShardOf(userID), userID, UserDigest(userID)}
}

func (u user) sessions() string { return u.Sessions(u.digest) }
func (u user) page() string     { return u.Page(u.digest) }
