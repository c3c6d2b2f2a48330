package listen

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

const (
	// tokenBytesMin refuses what could be guessed.
	tokenBytesMin = 16
	// tokensBytesMax bounds the file, about a thousand tokens; each request is compared with all.
	tokensBytesMax = 64 << 10
)

// tokens are the SHA-256 of each token.
type tokens [][sha256.Size]byte

// has compares with every token, in time that tells nothing of which one matched or how far.
func (t *tokens) has(token string) bool {
	sum, found := sha256.Sum256([]byte(token)), 0
	for i := range *t {
		found |= subtle.ConstantTimeCompare(sum[:], (*t)[i][:])
	}
	return found == 1 && token != ""
}

func (g *Guard) loadTokens() error {
	if g.opts.Tokens == "" {
		return nil
	}
	list, err := ReadTokens(g.opts.Name+".tokens_file", g.opts.Tokens)
	if err != nil {
		return err
	}
	t := make(tokens, len(list))
	for i, token := range list {
		t[i] = sha256.Sum256([]byte(token))
	}
	g.tokens.Store(&t)
	return nil
}

// ReadTokens reads a tokens file: one token a line; blank lines and those that begin with # are none. key is the setting
// that names it. Errors never quote a line.
func ReadTokens(key, path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be read (%w): name a file with one token a line that the user tarn runs as may read", key, path, fault.Cause(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, tokensBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be read: %w", key, path, fault.Cause(err))
	}
	if len(b) > tokensBytesMax {
		return nil, fmt.Errorf("%s %s is longer than %d bytes: keep the tokens in use", key, path, tokensBytesMax)
	}
	var list []string
	lines := bufio.NewScanner(strings.NewReader(string(b)))
	lines.Buffer(nil, tokensBytesMax+1)
	for n := 1; lines.Scan(); n++ {
		token := strings.TrimSpace(lines.Text())
		if token == "" || token[0] == '#' {
			continue
		}
		if len(token) < tokenBytesMin || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%s %s: line %d is no token: write at least %d visible ASCII characters, such as from `openssl rand -hex 32`", key, path, n, tokenBytesMin)
		}
		list = append(list, token)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s %s holds no token: write one a line, such as from `openssl rand -hex 32`", key, path)
	}
	return list, lines.Err()
}

// bearer is the token of an Authorization header, "" if it has none.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
