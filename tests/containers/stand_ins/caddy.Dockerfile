# Stands in for caddy:2 where no registry can be reached: Debian's.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends caddy && rm -rf /var/lib/apt/lists/*
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/data
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]
