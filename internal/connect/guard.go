package connect

import "fmt"

// TokenVariable is where snippets find the bearer token of a catalog that asks for one.
const TokenVariable = "TARN_CATALOG_TOKEN"

// trustStore is the file a JVM is given in place of its own store: a copy of that with the catalog's CA.
const trustStore = "lake-trust.p12"

// guarded says that Python must be told more of the catalog, out of the environment or into it.
func (t Target) guarded() bool { return t.Token || t.CA != "" }

// duckdbGuard is what a guarded catalog takes besides ATTACH, and the option of ATTACH that says who asks.
func (t Target) duckdbGuard() (before, option string) {
	if t.CA != "" {
		before = "SET ca_cert_file = " + literalSQL(t.CA) + ";\n"
	}
	if !t.Token {
		return before, "AUTHORIZATION_TYPE 'none'"
	}
	return before + "CREATE SECRET tarn (TYPE iceberg, TOKEN getenv('" + TokenVariable + "'));\n", "SECRET tarn"
}

// pythonGuard is what a guarded catalog takes before load_catalog, and among its arguments. The CA goes by the variable of the HTTP
// library: where that is set already, PyIceberg's own setting ssl.cabundle gives way to it.
func (t Target) pythonGuard() (before, arguments string) {
	if t.CA != "" {
		before = "os.environ[\"REQUESTS_CA_BUNDLE\"] = " + quotePython(t.CA) + "\n"
	}
	if t.Token {
		arguments = fmt.Sprintf(", token=os.environ[%q]", TokenVariable)
	}
	return before, arguments
}

// sparkTrust makes the trust store in Python and returns the option that names it.
func (t Target) sparkTrust() (before, option string) {
	if t.CA == "" {
		return "", ""
	}
	return "import os\nimport shutil\nimport subprocess\n\n" +
			"# The JVM trusts what it always does, and the catalog's CA\n" +
			"java = os.environ.get(\"JAVA_HOME\") or os.path.dirname(os.path.dirname(os.path.realpath(shutil.which(\"java\"))))\n" +
			"shutil.copy(java + \"/lib/security/cacerts\", \"" + trustStore + "\")\n" +
			"subprocess.run([java + \"/bin/keytool\", \"-importcert\", \"-noprompt\", \"-alias\", \"tarn\", \"-file\", " + quotePython(t.CA) + ",\n" +
			"                \"-keystore\", \"" + trustStore + "\", \"-storepass\", \"changeit\"], check=True)\n",
		"-Djavax.net.ssl.trustStore=" + trustStore + " -Djavax.net.ssl.trustStorePassword=changeit"
}

// trinoTrust makes the trust store in a shell and has Trino's JVM use it.
func (t Target) trinoTrust() string {
	if t.CA == "" {
		return ""
	}
	return "cp \"$JAVA_HOME/lib/security/cacerts\" etc/" + trustStore + "\n" +
		"\"$JAVA_HOME/bin/keytool\" -importcert -noprompt -alias tarn -file " + quoteShell(t.CA) + " -keystore etc/" + trustStore + " -storepass changeit\n" +
		"printf '%s\\n' -Djavax.net.ssl.trustStore=etc/" + trustStore + " -Djavax.net.ssl.trustStorePassword=changeit >>etc/jvm.config\n"
}
