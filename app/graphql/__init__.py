"""The guest rooms: translate between GraphQL and the services. Nothing is computed here, and no SQL written."""
