package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/tarn-db/tarn/internal/fault"
)

// fileBytesMax bounds tarn.yaml, about 1,000 rules. The parser takes time that grows with the square of a file's depth.
const fileBytesMax = 64 << 10

// entry is one value of tarn.yaml.
type entry struct {
	key    string   // sections joined by dots; a rule's key as "match"
	table  int      // index of the rule in tables, or -1
	where  string   // file:line
	values []string // one, or a list's
	list   bool
}

func (e entry) value() string { return e.values[0] }

// readFile flattens tarn.yaml into its values, in the file's order. It checks the shape: known keys, each where it
// belongs. It does not look at the values.
func readFile(path string) ([]entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &Error{What: fmt.Sprintf("configuration %s cannot be read (%v)", path, err), Fix: "name a readable file with --config", Code: fault.ConfigFile}
	}
	return parse(filepath.Base(path), data)
}

func parse(name string, data []byte) (_ []entry, err error) {
	if len(data) > fileBytesMax {
		return nil, &Error{Where: name, What: fmt.Sprintf("%d bytes is too long for a configuration", len(data)), Fix: "name another file with --config", Code: fault.ConfigFile}
	}
	w := walker{name: name}
	defer func() {
		// Invariant: a file, however broken, is an error and never a crash; the YAML library has panicked on some.
		if p := recover(); p != nil {
			if s, ok := p.(string); ok && strings.HasPrefix(s, "BUG: ") {
				panic(p)
			}
			err = &Error{Where: name, What: "not YAML", Fix: "check quotes and indentation", Code: fault.ConfigFile}
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, w.syntaxError(err)
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 {
			return nil, w.fail(doc.Body, "a second YAML document", "keep one")
		}
		if err := w.mapping(doc.Body, ""); err != nil {
			return nil, err
		}
	}
	return w.entries, nil
}

// walker collects entries from the syntax tree.
type walker struct {
	name    string
	entries []entry
}

func (w *walker) where(n ast.Node) string {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return w.name + ":" + strconv.Itoa(t.Position.Line)
	}
	return w.name
}

func (w *walker) fail(n ast.Node, what, fix string) error {
	return &Error{Where: w.where(n), What: what, Fix: fix}
}

func (w *walker) syntaxError(err error) error {
	var ye yaml.Error
	e := &Error{Where: w.name, What: "not YAML: " + err.Error(), Fix: "check quotes and indentation", Code: fault.ConfigFile}
	if errors.As(err, &ye) {
		e.What = "not YAML: " + ye.GetMessage()
		if t := ye.GetToken(); t != nil && t.Position != nil {
			e.Where += ":" + strconv.Itoa(t.Position.Line)
		}
	}
	return e
}

// members gives a mapping's pairs; both YAML styles, and the single pair the parser does not wrap.
func members(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	case *ast.NullNode:
		return nil, true
	}
	return nil, false
}

func (w *walker) mapping(n ast.Node, section string) error {
	pairs, ok := members(n)
	if !ok {
		name := section
		if name == "" {
			name = "the file"
		}
		return w.fail(n, name+" holds no mapping", "write "+strings.Join(sections[section], ", ")+" as key: value")
	}
	for _, p := range pairs {
		key := keyName(p.Key)
		if section == "publish.databases" {
			if err := w.database(p, key); err != nil {
				return err
			}
			continue
		}
		if err := w.checkKey(p.Key, section, key); err != nil {
			return err
		}
		full := key
		if section != "" {
			full = section + "." + key
		}
		var err error
		switch {
		case full == "tables":
			err = w.rules(p.Value)
		case full == "publish.databases" || sections[full] != nil:
			err = w.mapping(p.Value, full)
		default:
			err = w.scalar(p.Value, full, -1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func keyName(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.String()
}

func (w *walker) checkKey(at ast.Node, section, key string) error {
	known := sections[section]
	for _, k := range known {
		if k == key {
			return nil
		}
	}
	in := ""
	if name := strings.TrimSuffix(strings.TrimSuffix(section, "[]"), "."); name != "" {
		in = " in " + name
	}
	fix := "known keys are " + strings.Join(known, ", ")
	if near := nearest(key, known); near != "" {
		fix = "did you mean " + near + "?"
	}
	return &Error{Where: w.where(at), What: fmt.Sprintf("unknown key %s%s", key, in), Fix: fix, Code: fault.UnknownKey}
}

func (w *walker) database(p *ast.MappingValueNode, name string) error {
	const section = "publish.databases."
	pairs, ok := members(p.Value)
	if !ok {
		return w.fail(p.Value, section+name+" holds no mapping", "write "+name+": {interval: 1s}")
	}
	for _, m := range pairs {
		if err := w.checkKey(m.Key, section, keyName(m.Key)); err != nil {
			return err
		}
		if err := w.scalar(m.Value, section+name+".interval", -1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) rules(n ast.Node) error {
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		return w.fail(n, "tables holds no list", `write each rule as - match: "database.schema.table"`)
	}
	for i, item := range seq.Values {
		pairs, ok := members(item)
		if !ok || len(pairs) == 0 {
			return w.fail(item, "a rule of tables holds no mapping", `write - match: "database.schema.table"`)
		}
		for _, p := range pairs {
			key := keyName(p.Key)
			if err := w.checkKey(p.Key, "tables[]", key); err != nil {
				return err
			}
			var err error
			if key == "columns" {
				err = w.columns(p.Value, i)
			} else {
				err = w.scalar(p.Value, key, i)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// columns takes what a rule says of columns: a mapping of their names to mappings.
func (w *walker) columns(n ast.Node, table int) error {
	const fix = `write columns: {name: {type: "decimal(18,2)"}}`
	pairs, ok := members(n)
	if !ok {
		return w.fail(n, "columns of a rule in tables holds no mapping", fix)
	}
	for _, p := range pairs {
		settings, ok := members(p.Value)
		if !ok {
			return w.fail(p.Value, "column "+keyName(p.Key)+" of a rule in tables holds no mapping", fix)
		}
		for _, s := range settings {
			key := keyName(s.Key)
			if err := w.checkKey(s.Key, "tables[].columns.", key); err != nil {
				return err
			}
			if err := w.scalar(s.Value, columnsKey+keyName(p.Key)+"."+key, table); err != nil {
				return err
			}
		}
	}
	return nil
}

// scalar takes a single value, or a list of them where a rule has one.
func (w *walker) scalar(n ast.Node, key string, table int) error {
	e := entry{key: key, table: table, where: w.where(n)}
	if seq, ok := n.(*ast.SequenceNode); ok {
		e.list = true
		for _, item := range seq.Values {
			v, ok := scalarText(item)
			if !ok {
				return w.fail(item, key+" holds something other than plain values", "write a list such as [a, b]")
			}
			e.values = append(e.values, v)
		}
	} else {
		v, ok := scalarText(n)
		if !ok {
			return w.fail(n, key+" has no single value", "write "+key[strings.LastIndexByte(key, '.')+1:]+": value, without aliases or nested keys")
		}
		e.values = []string{v}
	}
	if takesList := table >= 0 && (key == "readers" || key == "partition_by" || key == "sort_by"); takesList != e.list {
		if takesList {
			return w.fail(n, key+" is not a list", "write "+key+": ["+e.values[0]+"]")
		}
		return w.fail(n, key+" is a list", "write one value")
	}
	w.entries = append(w.entries, e)
	return nil
}

// scalarText gives a plain value as it was written. Null has none.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
