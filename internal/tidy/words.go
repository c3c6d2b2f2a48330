package tidy

import (
	"fmt"
	"strings"
)

// foreign are texts that would mean nothing to a reader elsewhere: folders of the machine a file was written on, and the
// hosts of package registries, which are the business of the clients that ask them. Split so that this file has none.
var foreign = []string{
	"/wo" + "rk/", "/ro" + "ot/", "/home" + "/", "/tmp/ba" + "sh_jobs",
	"proxy.gol" + "ang.org", "sum.gol" + "ang.org", "py" + "pi.org", "files.python" + "hosted.org", "maven" + ".org", "maven.apa" + "che.org/maven2",
	"registry.npm" + "js.org", "deb.debian" + ".org",
}

// CheckWords says which lines of a text speak of a machine or a registry's host.
func CheckWords(path string, source []byte) (problems []string) {
	for i, line := range strings.Split(string(source), "\n") {
		for _, w := range foreign {
			if strings.Contains(line, w) {
				problems = append(problems, fmt.Sprintf("%s:%d mentions %s", path, i+1, w))
			}
		}
	}
	return problems
}
