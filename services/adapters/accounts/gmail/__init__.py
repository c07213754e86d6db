"""Gmail, through its REST API and Google's OAuth."""
