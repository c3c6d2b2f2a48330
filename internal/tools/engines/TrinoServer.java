import io.trino.server.Server;

/** Starts Trino from its jars. The server's own main class takes the version from an archive that we do not have. */
public final class TrinoServer
{
    private TrinoServer() {}

    public static void main(String[] args)
    {
        new Server().start("483");
    }
}
