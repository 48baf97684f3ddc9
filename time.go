package presence

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Time is a moment of the Redis clock in milliseconds since the Unix epoch.
// Zero means none and is JSON null; otherwise its JSON is an AWSDateTime in
// UTC with milliseconds, so that the strings sort as the moments do.
type Time int64

// TimeOf returns t as a Time.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Time returns t in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// String returns t as an AWSDateTime.
func (t Time) String() string { return string(t.append(nil)) }

// append appends the AWSDateTime. Every answer has three, and the time package is
// much quicker with this layout of its own than with one that has milliseconds.
func (t Time) append(b []byte) []byte {
	at := t.Time()
	ms := at.Nanosecond() / 1e6
	b = at.AppendFormat(b, time.RFC3339)
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// MarshalJSON implements [encoding/json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(`"2006-01-02T15:04:05.000Z"`))
	b = append(b, '"')
	b = t.append(b)
	return append(b, '"'), nil
}

// MarshalJSONTo implements the MarshalerTo of encoding/json/v2, which the handler
// encodes by: an answer has three times, and this costs no allocation.
func (t Time) MarshalJSONTo(enc *jsontext.Encoder) error {
	if t == 0 {
		return enc.WriteToken(jsontext.Null)
	}
	b := append(enc.AvailableBuffer(), '"')
	b = t.append(b)
	return enc.WriteValue(append(b, '"'))
}

// UnmarshalJSON implements [encoding/json.Unmarshaler]. It takes any RFC 3339
// time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return err
	}
	*t = TimeOf(at)
	return nil
}
