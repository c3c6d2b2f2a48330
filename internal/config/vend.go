package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
)

// Limits of s3.vend_duration, which are those of an STS: AssumeRole takes no other.
const (
	VendDurationMin = 15 * time.Minute
	VendDurationMax = 12 * time.Hour
)

// roleARN is arn:partition:iam::account:role/path, as services other than Amazon's write it too.
var roleARN = regexp.MustCompile(`^arn:[a-z0-9-]+:[a-z0-9-]*:[^:\s]*:[^:\s]*:[^\s]+$`)

func setVend(o *objstore.S3Options, v string) error {
	switch v {
	case "off", "sts":
		o.Vend = v == "sts"
		return nil
	}
	return fmt.Errorf("write off, or sts for credentials that an STS gives for one table each")
}

// checkVend refuses to hand out credentials to whoever asks, and settings of it that would have no effect.
func (c *Config) checkVend() error {
	o := &c.S3
	if !o.Vend {
		for _, key := range []string{"s3.sts_endpoint", "s3.role_arn", "s3.vend_duration"} {
			if c.texts[key] != "" {
				return c.bad(key, key+" is set and s3.vend is off", "set s3.vend to sts, or remove "+key)
			}
		}
		return nil
	}
	const key = "s3.vend"
	switch {
	case !strings.HasPrefix(c.Store, "s3://"):
		return c.bad(key, fmt.Sprintf("s3.vend is sts and store is %q", c.Store), "name an s3:// store, or set s3.vend to off: a folder has no credentials")
	case c.Catalog.TokensFile == "":
		return c.bad(key, "s3.vend is sts and catalog.tokens_file is not set", "set catalog.tokens_file: without tokens whoever reaches the catalog would be given credentials of the store")
	}
	if e := o.STSEndpoint; e != "" {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return c.bad("s3.sts_endpoint", fmt.Sprintf("s3.sts_endpoint is %q", Redact(e)), "write http://host:port or https://host")
		}
	}
	if o.RoleARN != "" && !roleARN.MatchString(o.RoleARN) {
		return c.bad("s3.role_arn", fmt.Sprintf("s3.role_arn is %q", o.RoleARN), "write arn:aws:iam::ACCOUNT:role/NAME")
	}
	if d := o.VendDuration; d < VendDurationMin || d > VendDurationMax {
		return c.bad("s3.vend_duration", fmt.Sprintf("s3.vend_duration is %s", d), fmt.Sprintf("write between %s and %s", VendDurationMin, VendDurationMax))
	}
	return nil
}
