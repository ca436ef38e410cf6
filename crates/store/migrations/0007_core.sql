-- What an event says of region and consent.
ALTER TABLE ingestion.events
    ADD COLUMN region text,
    -- The text form of northstar_domain::consent::Consent.
    ADD COLUMN consent text;
