"""The dashboard's server: what a store holds, as JSON, and the page that shows it. No torch in this process."""
