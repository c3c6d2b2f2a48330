package tidy

import (
	"fmt"
	"regexp"
	"strings"
)

// drawing is a block of a page under docs/formats that is drawn in a source file's comment, word for word:
//
//	```text catalog/journal/format.go
//	...
//	```
var drawing = regexp.MustCompile("(?ms)^```text ([^ \n]+\\.go)\n(.*?)^```$")

// magicText is how the source spells the first bytes of a format.
var magicText = regexp.MustCompile(`"(TARN[A-Z0-9]{4}|tn[A-Z]{2})"`)

// CheckDrawings says which drawings of a page are no longer what the source has. read gives a source file.
func CheckDrawings(path string, page []byte, read func(path string) ([]byte, error)) (problems []string) {
	for _, m := range drawing.FindAllStringSubmatch(string(page), -1) {
		source, err := read(m[1])
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s draws from %s: %v", path, m[1], err))
			continue
		}
		if !strings.Contains(commentText(source), "\n"+m[2]) {
			problems = append(problems, fmt.Sprintf("%s: the drawing from %s is not what its comment says now", path, m[1]))
		}
	}
	return problems
}

// commentText gives a source file's comment lines without their marks; other lines are empty.
func commentText(source []byte) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.SplitSeq(string(source), "\n") {
		if text, ok := strings.CutPrefix(line, "//"); ok {
			// A comment begins after one blank or, where gofmt takes it for code, after one tab.
			text = strings.TrimPrefix(strings.TrimPrefix(text, " "), "\t")
			b.WriteString(text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Magics gives the magic texts in a file's comments and code.
func Magics(f *File) (out []string) {
	if f.Test() || strings.HasPrefix(f.Path, "internal/tidy/") {
		return nil
	}
	for _, m := range magicText.FindAllStringSubmatch(string(f.Source), -1) {
		out = append(out, m[1])
	}
	return out
}
