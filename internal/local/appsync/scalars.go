package appsync

import (
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

var (
	datePattern  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(Z|[+-]\d{2}:\d{2}(:\d{2})?)?$`)
	timePattern  = regexp.MustCompile(`^\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}(:\d{2})?)?$`)
	phonePattern = regexp.MustCompile(`^\+?[0-9][0-9 -]{2,18}$`)
)

// awsScalars are the checks of AppSync's string scalars and the names its
// errors give them. See "Scalar types in GraphQL" in the developer guide.
var awsScalars = map[string]struct {
	noun  string
	valid func(string) bool
}{
	"AWSDate": {"Date Object", func(s string) bool {
		return datePattern.MatchString(s) && parses(time.DateOnly, s[:10])
	}},
	"AWSTime": {"Time Object", func(s string) bool {
		return timePattern.MatchString(s) && parses("15:04", s[:5])
	}},
	"AWSDateTime": {"DateTime Object", func(s string) bool {
		return parses(time.RFC3339Nano, s) || parses("2006-01-02T15:04Z07:00", s)
	}},
	"AWSEmail": {"Email", func(s string) bool {
		a, err := mail.ParseAddress(s)
		return err == nil && a.Address == s
	}},
	"AWSJSON": {"JSON", func(s string) bool { return json.Valid([]byte(s)) }},
	"AWSURL": {"URL", func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
	}},
	"AWSPhone": {"phone number", phonePattern.MatchString},
	"AWSIPAddress": {"IP Address", func(s string) bool {
		if _, err := netip.ParseAddr(s); err == nil {
			return true
		}
		_, err := netip.ParsePrefix(s)
		return err == nil
	}},
}

func parses(layout, s string) bool {
	_, err := time.Parse(layout, s)
	return err == nil
}

// leaf serializes a JSON value as a scalar or enum: nil where it is none, with
// the reason in the words AppSync uses.
func leaf(def *ast.Definition, value any) (text []byte, reason string) {
	wrong := func(noun string) ([]byte, string) {
		return nil, strings.Replace(cannotParse(value, noun), "parse", "serialize", 1)
	}
	if def.Kind == ast.Enum {
		name, ok := value.(string)
		if !ok || def.EnumValues.ForName(name) == nil {
			return nil, fmt.Sprintf("Invalid input for Enum '%s'. No value found for name '%v'", def.Name, value)
		}
		return encode(name), ""
	}
	switch def.Name {
	case "Boolean":
		if _, ok := value.(bool); !ok {
			return wrong("Boolean")
		}
		return encode(value), ""
	case "Int", "AWSTimestamp":
		n, err := strconv.ParseFloat(fmt.Sprint(value), 64)
		if err != nil || n != math.Trunc(n) || math.Abs(n) > 1<<53 || def.Name == "Int" && (n < math.MinInt32 || n > math.MaxInt32) {
			return wrong("Int")
		}
		return strconv.AppendInt(nil, int64(n), 10), ""
	case "Float":
		n, err := strconv.ParseFloat(fmt.Sprint(value), 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return wrong("Float")
		}
		return encode(n), ""
	}
	var s string
	switch v := value.(type) {
	case string:
		s = v
	case json.Number, bool, int64, float64:
		s = fmt.Sprint(v)
	default:
		if def.Name != "AWSJSON" {
			return wrong(def.Name)
		}
		s = string(encode(v))
	}
	if scalar, ok := awsScalars[def.Name]; ok && !scalar.valid(s) {
		return wrong(scalar.noun)
	}
	return encode(s), ""
}

// encode marshals what has come from JSON, which cannot fail.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
