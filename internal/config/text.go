package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// interpolate replaces ${NAME} by the variable's value; $${ stands for a plain ${.
func interpolate(v string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		at := strings.Index(v, "${")
		if at < 0 {
			b.WriteString(v)
			return b.String(), nil
		}
		if at > 0 && v[at-1] == '$' {
			b.WriteString(v[:at-1] + "${")
			v = v[at+2:]
			continue
		}
		end := strings.IndexByte(v[at:], '}')
		if end < 0 {
			return "", fmt.Errorf("${ is not closed: write ${NAME}, or $${ for a plain ${")
		}
		name := v[at+2 : at+end]
		value, ok := env(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set: set it, or write the value here", name)
		}
		b.WriteString(v[:at] + value)
		v = v[at+end+1:]
	}
}

var (
	uriPassword = regexp.MustCompile(`^([a-z]+://[^:@/]*):.*@`)
	dsnPassword = regexp.MustCompile(`(?i)\b((?:ssl)?password)\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)`)
)

// Redact hides the passwords of a connection string in either notation.
func Redact(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" && u.Host != "" {
		return dsnPassword.ReplaceAllString(u.Redacted(), "$1=xxxxx")
	}
	// A password with a slash or space makes a URI that does not parse; hide it all the same, greedily to the last @.
	return dsnPassword.ReplaceAllString(uriPassword.ReplaceAllString(dsn, "$1:xxxxx@"), "$1=xxxxx")
}

func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// Nearest gives the name among known that a typing error most likely meant, or "".
func Nearest(name string, known []string) string { return nearest(name, known) }

func nearest(name string, known []string) string {
	best, bestDistance := "", len(name)/2+1
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			d := diagonal
			if a[i-1] != b[j-1] {
				d++
			}
			diagonal = row[j]
			row[j] = min(d, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
