package objstore

// EngineConfigured is a Store that engines reach over the network and must be told how.
type EngineConfigured interface {
	// EngineProperties are the Iceberg FileIO properties with which engines reach the store: s3.endpoint,
	// s3.path-style-access ("true" or "false"), s3.region and client.region. There are no secrets among them.
	EngineProperties() map[string]string
}

// EngineProperties are those of a store that has some, else nil.
func EngineProperties(s Store) map[string]string {
	if e, ok := s.(EngineConfigured); ok {
		return e.EngineProperties()
	}
	return nil
}
