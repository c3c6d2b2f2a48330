package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// jvmInterpreter is for the engines that run on Java, as internal/tools/install-engines has put them under .cache.
func jvmInterpreter(t *testing.T, engine string, env []string) *exec.Cmd {
	t.Helper()
	if engine == "spark" {
		home := engineHome(t, "spark", "TARN_SPARK")
		cmd := exec.CommandContext(t.Context(), python(t, lakecheck.PyIceberg, "pyarrow"), "-")
		cmd.Env = append(env, "PYTHONPATH="+filepath.Join(home, "python"), "JAVA_HOME="+jdk(t, "TARN_JDK17", "17", "21"), "SPARK_LOCAL_IP=127.0.0.1")
		return cmd
	}
	home := engineHome(t, "trino", "TARN_TRINO")
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "trino"), []byte(trinoProgram), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-e")
	cmd.Env = append(env, "PATH="+bin+":"+os.Getenv("PATH"), "TARN_TRINO="+home, "JAVA_HOME="+jdk(t, "TARN_JDK25", "25", "26"),
		"TARN_TEST_PYTHON="+python(t, lakecheck.PyIceberg, "trino"))
	return cmd
}

// engineHome is a folder that a variable names, or one of .cache above the working directory.
func engineHome(t *testing.T, name, variable string) string {
	t.Helper()
	if home := os.Getenv(variable); home != "" {
		return home
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		home := filepath.Join(dir, ".cache", name)
		if _, err := os.Stat(filepath.Join(home, ".stamp")); err == nil {
			return home
		}
	}
	pgtest.Missing(t, "no ", name, ": run internal/tools/install-engines or set ", variable)
	return ""
}

// jdk is one of some majors.
func jdk(t *testing.T, variable string, majors ...string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/jvm/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, home := range append([]string{os.Getenv(variable), os.Getenv("JAVA_HOME")}, found...) {
		release, err := os.ReadFile(filepath.Join(home, "release"))
		if err != nil || home == "" {
			continue
		}
		for _, m := range majors {
			if strings.Contains(string(release), `JAVA_VERSION="`+m) {
				return home
			}
		}
	}
	pgtest.Missing(t, "no JDK ", majors, ": set ", variable)
	return ""
}

// trinoProgram stands for Trino's command line, which is no part of what install-engines installs: it starts the server in the
// folder it is called in, on the catalog that the snippet has written there, asks it and ends it.
const trinoProgram = `#!/bin/sh
set -e
dir=$PWD/etc
exec "$TARN_TEST_PYTHON" - "$dir" "$2" <<'END'
import json, os, socket, subprocess, sys, time, urllib.request
import trino.dbapi

etc, sql = sys.argv[1:]
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
home, jdk = os.environ["TARN_TRINO"], os.environ["JAVA_HOME"]
settings = {
    "coordinator": "true", "node-scheduler.include-coordinator": "true", "http-server.http.port": port,
    "discovery.uri": f"http://127.0.0.1:{port}", "node.internal-address": "127.0.0.1", "query.max-memory": "256MB",
    "query.max-memory-per-node": "256MB", "memory.heap-headroom-per-node": "128MB", "catalog.management": "static", "plugin.dir": home + "/plugin",
}
with open(etc + "/config.properties", "w") as f:
    f.writelines(f"{k}={v}\n" for k, v in settings.items())
jvm = """-Xmx768m -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256M -XX:+EnableDynamicAgentLoading -Djdk.attach.allowAttachSelf=true
 --sun-misc-unsafe-memory-access=allow --add-modules=jdk.incubator.vector --enable-native-access=ALL-UNNAMED -Duser.timezone=UTC"""
if os.path.exists(etc + "/jvm.config"):
    jvm += " " + open(etc + "/jvm.config").read()
log = open(etc + "/log", "w")
server = subprocess.Popen(
    [jdk + "/bin/java", *jvm.split(), f"-Dconfig={etc}/config.properties", "-Dnode.environment=test", "-Dnode.id=n1", f"-Dnode.data-dir={etc}/data",
     f"-Dcatalog.config-dir={etc}/catalog", "-cp", f"{home}/server:{home}/server/*", "TrinoServer"], stdout=log, stderr=subprocess.STDOUT)
try:
    for _ in range(900):
        if server.poll() is not None:
            raise SystemExit("the Trino server does not start: " + open(etc + "/log").read()[-2000:])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/info", timeout=5) as answer:
                if not json.load(answer)["starting"]:
                    break
        except OSError:
            pass
        time.sleep(0.2)
    cursor = trino.dbapi.connect(host="127.0.0.1", port=port, user="test", max_attempts=1).cursor()
    print(cursor.execute(sql).fetchall())
finally:
    server.kill()
    server.wait()
END
`
